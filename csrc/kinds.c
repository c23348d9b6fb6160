/* Scalar elements: the formats of one native element that C reads and writes by itself, so that
 * x[i] on a JuliaArray costs what it costs on an ndarray. Everything else is Julia's business
 * (jlsrc/src/format.jl). */
#include "bufferbridge.h"
#include <string.h>

static const struct {
    const char *format;
    Py_ssize_t size, alignment;
} kinds[BB_K_COUNT] = {
    [BB_K_BOOL] = {"?", 1, 1},
    [BB_K_I8] = {"b", 1, 1},
    [BB_K_U8] = {"B", 1, 1},
    [BB_K_I16] = {"h", 2, _Alignof(int16_t)},
    [BB_K_U16] = {"H", 2, _Alignof(int16_t)},
    [BB_K_I32] = {"i", 4, _Alignof(int32_t)},
    [BB_K_U32] = {"I", 4, _Alignof(int32_t)},
    /* The code NumPy itself uses: long where it has 64 bits, so that dtype.num agrees too. */
    [BB_K_I64] = {sizeof(long) == 8 ? "l" : "q", 8, _Alignof(int64_t)},
    [BB_K_U64] = {sizeof(long) == 8 ? "L" : "Q", 8, _Alignof(int64_t)},
    [BB_K_F16] = {"e", 2, 2},
    [BB_K_F32] = {"f", 4, _Alignof(float)},
    [BB_K_F64] = {"d", 8, _Alignof(double)},
    [BB_K_C32] = {"Zf", 8, _Alignof(float)},
    [BB_K_C64] = {"Zd", 16, _Alignof(double)},
    [BB_K_OBJECT] = {"O", sizeof(PyObject *), 1},
};

const char *bb_kind_format(int kind) { return kinds[kind].format; }
Py_ssize_t bb_kind_size(int kind) { return kinds[kind].size; }
Py_ssize_t bb_kind_alignment(int kind) { return kinds[kind].alignment; }

static int integer_kind(int is_signed, size_t size)
{
    switch (size) {
    case 1: return is_signed ? BB_K_I8 : BB_K_U8;
    case 2: return is_signed ? BB_K_I16 : BB_K_U16;
    case 4: return is_signed ? BB_K_I32 : BB_K_U32;
    case 8: return is_signed ? BB_K_I64 : BB_K_U64;
    }
    return BB_K_NONE;
}

/* The kind of a struct-module format (PEP 3118) of one item, or BB_K_NONE. *swapped says whether
 * its bytes are in the order that this machine does not use. */
int bb_kind_of_format(const char *f, int *swapped)
{
    int native = 1; /* sizes of C's types; otherwise the standard sizes of the struct module */
    const int little = PY_LITTLE_ENDIAN;

    *swapped = 0;
    switch (*f) {
    case '<': *swapped = !little, native = 0, f++; break;
    case '>': case '!': *swapped = little, native = 0, f++; break;
    case '=': native = 0, f++; break;
    case '@': case '^': f++; break;
    }
    if (f[0] == 'Z' && f[1] != 0 && f[2] == 0)
        return f[1] == 'f' ? BB_K_C32 : f[1] == 'd' ? BB_K_C64 : BB_K_NONE;
    if (f[0] == 0 || f[1] != 0)
        return BB_K_NONE;
    switch (*f) {
    case '?': return BB_K_BOOL;
    case 'b': return BB_K_I8;
    case 'B': case 'c': return BB_K_U8;
    case 'h': return integer_kind(1, native ? sizeof(short) : 2);
    case 'H': return integer_kind(0, native ? sizeof(short) : 2);
    case 'i': return integer_kind(1, native ? sizeof(int) : 4);
    case 'I': return integer_kind(0, native ? sizeof(int) : 4);
    case 'l': return integer_kind(1, native ? sizeof(long) : 4);
    case 'L': return integer_kind(0, native ? sizeof(long) : 4);
    case 'q': return BB_K_I64;
    case 'Q': return BB_K_U64;
    case 'n': return native ? integer_kind(1, sizeof(Py_ssize_t)) : BB_K_NONE;
    case 'N': return native ? integer_kind(0, sizeof(Py_ssize_t)) : BB_K_NONE;
    case 'e': return BB_K_F16;
    case 'f': return BB_K_F32;
    case 'd': return BB_K_F64;
    }
    return BB_K_NONE;
}

/* memcpy, since elements need not be aligned (a view of a packed record's field, say). */
#define LOAD(T) T v; memcpy(&v, p, sizeof v)

PyObject *bb_kind_load(int kind, const char *p)
{
    switch (kind) {
    case BB_K_BOOL: return PyBool_FromLong(*p != 0);
    case BB_K_I8: return PyLong_FromLong(*(const int8_t *)p);
    case BB_K_U8: return PyLong_FromLong(*(const uint8_t *)p);
    case BB_K_I16: { LOAD(int16_t); return PyLong_FromLong(v); }
    case BB_K_U16: { LOAD(uint16_t); return PyLong_FromLong(v); }
    case BB_K_I32: { LOAD(int32_t); return PyLong_FromLong(v); }
    case BB_K_U32: { LOAD(uint32_t); return PyLong_FromLongLong(v); }
    case BB_K_I64: { LOAD(int64_t); return PyLong_FromLongLong(v); }
    case BB_K_U64: { LOAD(uint64_t); return PyLong_FromUnsignedLongLong(v); }
    case BB_K_F32: { LOAD(float); return PyFloat_FromDouble(v); }
    case BB_K_F64: { LOAD(double); return PyFloat_FromDouble(v); }
    case BB_K_C32: {
        float v[2];
        memcpy(v, p, sizeof v);
        return PyComplex_FromDoubles(v[0], v[1]);
    }
    case BB_K_C64: {
        double v[2];
        memcpy(v, p, sizeof v);
        return PyComplex_FromDoubles(v[0], v[1]);
    }
    case BB_K_OBJECT: { LOAD(PyObject *); return Py_NewRef(v == NULL ? Py_None : v); }
    }
    return NULL;
}

#define STORE(T, x) do { T v = (T)(x); memcpy(p, &v, sizeof v); return 1; } while (0)
#define STORE_IF(T, lo, hi) if (i >= (lo) && i <= (hi)) STORE(T, i); return 0

/* Stores what is exactly the element's kind and fits. The rest (0) is left to Julia's convert, which
 * also makes the error. */
int bb_kind_store(int kind, char *p, PyObject *o)
{
    if (kind == BB_K_OBJECT) {
        LOAD(PyObject *);
        Py_INCREF(o);
        memcpy(p, &o, sizeof o);
        Py_XDECREF(v); /* last: it may run any code */
        return 1;
    }
    if (PyFloat_CheckExact(o)) {
        double d = PyFloat_AS_DOUBLE(o);
        if (kind == BB_K_F64) STORE(double, d);
        if (kind == BB_K_F32) STORE(float, d);
        return 0;
    }
    if (PyLong_CheckExact(o)) {
        int overflow;
        long long i = PyLong_AsLongLongAndOverflow(o, &overflow);
        if (overflow)
            return 0;
        switch (kind) {
        case BB_K_I8: STORE_IF(int8_t, INT8_MIN, INT8_MAX);
        case BB_K_U8: STORE_IF(uint8_t, 0, UINT8_MAX);
        case BB_K_I16: STORE_IF(int16_t, INT16_MIN, INT16_MAX);
        case BB_K_U16: STORE_IF(uint16_t, 0, UINT16_MAX);
        case BB_K_I32: STORE_IF(int32_t, INT32_MIN, INT32_MAX);
        case BB_K_U32: STORE_IF(uint32_t, 0, UINT32_MAX);
        case BB_K_I64: STORE(int64_t, i);
        case BB_K_U64: STORE_IF(uint64_t, 0, INT64_MAX);
        case BB_K_F32: STORE(float, i);
        case BB_K_F64: STORE(double, i);
        }
        return 0;
    }
    if (PyBool_Check(o) && kind == BB_K_BOOL) {
        *p = o == Py_True;
        return 1;
    }
    return 0;
}
