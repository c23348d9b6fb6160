// The rows for nanobind, the reference for speed: a C++ function for each, named as its row.

#include <complex>
#include <string>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/complex.h>
#include <nanobind/stl/string.h>

namespace nb = nanobind;

using Vector = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

static double total(Vector v) {
    double sum = 0;
    const double *data = v.data();
    for (size_t i = 0; i < v.size(); i++)
        sum += data[i];
    return sum;
}

NB_MODULE(nanobind_rows, m) {
    m.def("typed", [](int64_t a, int64_t b) { return a + b; });
    m.def("complex", [](std::complex<double> z) { return z; });
    m.def("str", [](const std::string &s) { return s; });
    m.def("ndarray", [](nb::ndarray<nb::numpy, double, nb::ndim<2>> a) { return a; });
    m.def("sum_10", total);
    m.def("sum_10000", total);
    m.def("pass_huge", [](Vector) {});
    m.def("callback", [](nb::callable f) {
        for (int64_t i = 1; i <= 1000; i++)
            f(i);
    });
}
