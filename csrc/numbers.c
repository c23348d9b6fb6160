/* Operators on Julia objects: Python's number protocol. Which function of Julia's an operator means is
 * decided in jlsrc/src/operators.jl; it gives NotImplemented where the other operand is an object that
 * only Python knows, which is then asked.
 *
 * JuliaArrays have these slots too. With another JuliaArray or a plain number their operators are
 * elementwise, as NumPy's are. With anything else, NumPy's arrays and numbers first, they are left to it. */
#include "bufferbridge.h"

enum operator {
    ADD, SUBTRACT, MULTIPLY, DIVIDE, FLOOR_DIVIDE, REMAINDER, DIVMOD, POWER, MATMUL, LSHIFT, RSHIFT, AND, OR, XOR,
    NEGATIVE, POSITIVE, ABSOLUTE, INVERT, INT, FLOAT, INDEX, OPERATORS,
};

static const char *const texts[OPERATORS] = {
    "+", "-", "*", "/", "//", "%", "divmod", "**", "@", "<<", ">>", "&", "|", "^",
    "neg", "pos", "abs", "~", "int", "float", "index",
};

/* New: the operator, or the same in place (with "=" after it). */
static PyObject *name_of(enum operator op, int in_place)
{
    static PyObject *names[2][OPERATORS];
    PyObject **name = &names[in_place][op];
    if (*name == NULL) {
        PyObject *text = PyUnicode_FromFormat(in_place ? "%s=" : "%s", texts[op]);
        if (text == NULL)
            return NULL;
        PyUnicode_InternInPlace(&text);
        *name = text; /* kept for ever */
    }
    return *name;
}

static int is_array(PyObject *o) { return Py_TYPE(o) == bb_types[BB_CLASS_ARRAY]; }

/* Whether an operator of JuliaArrays is theirs, and not the other operand's. */
static int is_for_arrays(PyObject *o)
{
    return bb_is_julia(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) || PyBool_Check(o) || PyComplex_CheckExact(o);
}

static PyObject *binary(enum operator op, PyObject *a, PyObject *b)
{
    PyObject *name;
    if ((is_array(a) && !is_for_arrays(b)) || (is_array(b) && !is_for_arrays(a)))
        Py_RETURN_NOTIMPLEMENTED;
    name = name_of(op, 0);
    return name == NULL ? NULL : bb_call_on(BB_H_OPERATE, name, a, b);
}

/* Only arrays change; for others `x += y` is `x = x + y`. */
static PyObject *in_place(enum operator op, PyObject *a, PyObject *b)
{
    PyObject *name, *r;
    if (!is_array(a))
        return binary(op, a, b);
    if ((name = name_of(op, 1)) == NULL || (r = bb_call_on(BB_H_OPERATE, name, a, b)) == NULL)
        return NULL;
    Py_DECREF(r);
    return Py_NewRef(a);
}

static PyObject *unary(enum operator op, PyObject *a)
{
    PyObject *name = name_of(op, 0);
    return name == NULL ? NULL : bb_call_on(BB_H_OPERATE, name, a, NULL);
}

#define BINARY(name, op) static PyObject *name(PyObject *a, PyObject *b) { return binary(op, a, b); }
#define IN_PLACE(name, op) static PyObject *name(PyObject *a, PyObject *b) { return in_place(op, a, b); }
#define UNARY(name, op) static PyObject *name(PyObject *a) { return unary(op, a); }

BINARY(add, ADD)
BINARY(subtract, SUBTRACT)
BINARY(multiply, MULTIPLY)
BINARY(divide, DIVIDE)
BINARY(floor_divide, FLOOR_DIVIDE)
BINARY(remainder_, REMAINDER)
BINARY(divmod_, DIVMOD)
BINARY(matmul, MATMUL)
BINARY(lshift, LSHIFT)
BINARY(rshift, RSHIFT)
BINARY(and_, AND)
BINARY(or_, OR)
BINARY(xor_, XOR)
IN_PLACE(add_to, ADD)
IN_PLACE(subtract_from, SUBTRACT)
IN_PLACE(multiply_by, MULTIPLY)
IN_PLACE(divide_by, DIVIDE)
IN_PLACE(floor_divide_by, FLOOR_DIVIDE)
IN_PLACE(remainder_by, REMAINDER)
IN_PLACE(lshift_by, LSHIFT)
IN_PLACE(rshift_by, RSHIFT)
IN_PLACE(and_with, AND)
IN_PLACE(or_with, OR)
IN_PLACE(xor_with, XOR)
UNARY(negative, NEGATIVE)
UNARY(positive, POSITIVE)
UNARY(absolute, ABSOLUTE)
UNARY(invert, INVERT)

static PyObject *power(PyObject *a, PyObject *b, PyObject *modulus)
{
    if (modulus == Py_None)
        return binary(POWER, a, b);
    PyErr_SetString(PyExc_TypeError, "pow(a, b, m) of Julia objects is bufferbridge.Base.powermod(a, b, m)");
    return NULL;
}

static PyObject *power_by(PyObject *a, PyObject *b, PyObject *Py_UNUSED(modulus)) { return in_place(POWER, a, b); }

/* int(), float(), and an index. Python wants the very type. */
static PyObject *number(enum operator op, PyObject *a)
{
    PyObject *name = name_of(op, 0), *r = name == NULL ? NULL : bb_call_on(BB_H_NUMBER, name, a, NULL);
    if (r != NULL && !(op == FLOAT ? PyFloat_Check(r) : PyLong_Check(r))) {
        PyErr_Format(PyExc_TypeError, "Julia gave no number for %s(): '%.200s'", texts[op], bb_type_name(Py_TYPE(r)));
        Py_CLEAR(r);
    }
    return r;
}

static PyObject *int_(PyObject *a) { return number(INT, a); }
static PyObject *float_(PyObject *a) { return number(FLOAT, a); }
static PyObject *index_(PyObject *a) { return number(INDEX, a); }

const PyType_Slot bb_number_slots[] = {
    {Py_nb_add, add}, {Py_nb_subtract, subtract}, {Py_nb_multiply, multiply}, {Py_nb_true_divide, divide},
    {Py_nb_floor_divide, floor_divide}, {Py_nb_remainder, remainder_}, {Py_nb_divmod, divmod_},
    {Py_nb_power, power}, {Py_nb_matrix_multiply, matmul}, {Py_nb_lshift, lshift}, {Py_nb_rshift, rshift},
    {Py_nb_and, and_}, {Py_nb_or, or_}, {Py_nb_xor, xor_}, {Py_nb_negative, negative},
    {Py_nb_positive, positive}, {Py_nb_absolute, absolute}, {Py_nb_invert, invert}, {Py_nb_int, int_},
    {Py_nb_float, float_}, {Py_nb_index, index_}, {Py_nb_inplace_add, add_to},
    {Py_nb_inplace_subtract, subtract_from}, {Py_nb_inplace_multiply, multiply_by},
    {Py_nb_inplace_true_divide, divide_by}, {Py_nb_inplace_floor_divide, floor_divide_by},
    {Py_nb_inplace_remainder, remainder_by}, {Py_nb_inplace_power, power_by},
    {Py_nb_inplace_lshift, lshift_by}, {Py_nb_inplace_rshift, rshift_by}, {Py_nb_inplace_and, and_with},
    {Py_nb_inplace_or, or_with}, {Py_nb_inplace_xor, xor_with},
    {0, NULL},
};
