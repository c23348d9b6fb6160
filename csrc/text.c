/* Text between the languages: Python's str, which is code points, and Julia's String, which is bytes that
 * should be UTF-8 but may be any.
 *
 * Valid text is the same on both sides. All else goes over in a way that leads back:
 *
 *   - A byte that belongs to no character is a code point U+DC80 to U+DCFF in Python, as in file names (PEP 383,
 *     "surrogateescape"), and such a code point is that byte in Julia.
 *   - Any other surrogate, a code point that is no character, is the three bytes that UTF-8 would have for it.
 *     Julia has the same, so that "\ud800" means the same in both languages.
 *
 * So bytes are the same when they come back from Python, and text is the same when it comes back from Julia, unless
 * it has escaped bytes in a row that are a character together: as in Python's own file names they come back as that
 * character. Needs the GIL; runs no Python code. */
#include "bufferbridge.h"

enum { ESCAPE = 0xDC00, ESCAPE_FIRST = 0xDC80, ESCAPE_LAST = 0xDCFF };

static inline int is_escape(Py_UCS4 c) { return c >= ESCAPE_FIRST && c <= ESCAPE_LAST; }

/* How many of the n bytes at s are one character, or a surrogate that is no escape, which is stored in *c. 0: the
 * first one belongs to none. */
static Py_ssize_t decode_one(const unsigned char *s, Py_ssize_t n, Py_UCS4 *c)
{
    static const Py_UCS4 least[5] = {0, 0, 0x80, 0x800, 0x10000}; /* what is shorter is written shorter */
    const unsigned char lead = s[0];
    const int count = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 0;

    if (count == 0 || count > n)
        return 0;
    *c = count == 1 ? lead : lead & (0x7F >> count);
    for (int i = 1; i < count; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        *c = *c << 6 | (s[i] & 0x3F);
    }
    return *c < least[count] || *c > 0x10FFFF || is_escape(*c) ? 0 : count;
}

static PyObject *decode_any(const unsigned char *s, Py_ssize_t n)
{
    Py_UCS4 *text = PyMem_New(Py_UCS4, n);
    Py_ssize_t length = 0;

    if (text == NULL)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n; length++) {
        Py_ssize_t count = decode_one(s + i, n - i, &text[length]);
        if (count == 0) {
            text[length] = ESCAPE + s[i];
            count = 1;
        }
        i += count;
    }
    PyObject *o = bb_str_of(text, length);
    PyMem_Free(text);
    return o;
}

PyObject *bb_text(const char *s, Py_ssize_t n)
{
    PyObject *o = PyUnicode_DecodeUTF8(s, n, NULL);
    if (o != NULL || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        return o;
    PyErr_Clear();
    return decode_any((const unsigned char *)s, n);
}

/* Writes c at p, and gives the place behind it. */
static unsigned char *encode_one(unsigned char *p, Py_UCS4 c)
{
    if (c < 0x80 || is_escape(c)) {
        *p++ = (unsigned char)c; /* of an escape, the byte: its lowest bits */
        return p;
    }
    if (c < 0x800)
        *p++ = (unsigned char)(0xC0 | c >> 6);
    else {
        if (c < 0x10000)
            *p++ = (unsigned char)(0xE0 | c >> 12);
        else {
            *p++ = (unsigned char)(0xF0 | c >> 18);
            *p++ = (unsigned char)(0x80 | (c >> 12 & 0x3F));
        }
        *p++ = (unsigned char)(0x80 | (c >> 6 & 0x3F));
    }
    *p++ = (unsigned char)(0x80 | (c & 0x3F));
    return p;
}

static PyObject *encode_any(PyObject *o)
{
    const Py_ssize_t length = PyUnicode_GET_LENGTH(o);
    if (length > PY_SSIZE_T_MAX / 4)
        return PyErr_NoMemory();
    unsigned char *bytes = PyMem_Malloc((size_t)(4 * length) + 1), *p = bytes;
    if (bytes == NULL)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < length; i++)
        p = encode_one(p, PyUnicode_READ_CHAR(o, i));
    PyObject *r = PyBytes_FromStringAndSize((const char *)bytes, p - bytes);
    PyMem_Free(bytes);
    return r;
}

const char *bb_utf8(PyObject *o, Py_ssize_t *n, PyObject **owner)
{
    const char *s = PyUnicode_AsUTF8AndSize(o, n);
    if (s != NULL || !PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return s;
    PyErr_Clear();
    if ((*owner = encode_any(o)) == NULL)
        return NULL;
    *n = PyBytes_GET_SIZE(*owner);
    return PyBytes_AS_STRING(*owner);
}
