"""
    BufferBridge

Julia's side of bufferbridge: Python and Julia on the same memory, in one process.

The module is loaded into a Python process by the `bufferbridge` package, which calls
[`start`](@ref BufferBridge.start). Without that its array types and layouts work on plain memory (the
tests use them so), and everything that needs Python throws.

The files, in the order in which they build on each other:

| file            | concern                                                              |
|-----------------|----------------------------------------------------------------------|
| `compat.jl`     | what differs between Julia's versions, and nothing else               |
| `wire.jl`       | the structs and functions shared with the C layer                     |
| `roots.jl`      | Julia objects that Python holds                                       |
| `interrupt.jl`  | Ctrl-C in Julia code, and calls without the GIL                       |
| `pyobject.jl`   | Python objects that Julia holds; calling them; their exceptions       |
| `pyoperators.jl` | their items, iteration, comparison and operators                     |
| `pyconvert.jl`  | their conversion to a type that is asked for                          |
| `pycontainers.jl` | `PyList`, `PyDict`, `PySet`: Python's containers, shared            |
| `pyio.jl`       | `PyIO`: Python's files                                                |
| `pyimport.jl`   | modules, builtins and code of Python, context managers                |
| `pycallback.jl` | Python functions with typed results, and for C                        |
| `longdouble.jl` | C's long double                                                       |
| `strings.jl`    | strings and bytes of a fixed size                                     |
| `records.jl`    | records with named fields                                             |
| `datetime64.jl` | NumPy's `datetime64` and `timedelta64`                               |
| `memory.jl`     | how an element lies in memory: reading and writing it                 |
| `parseformat.jl` | a PEP 3118 format to the type of an element's memory                 |
| `printformat.jl` | the way back                                                         |
| `pyarray.jl`    | Python memory as arrays: `PyArray` and kin                            |
| `borrowed.jl`   | Python memory that is Julia's for a block only                        |
| `columns.jl`    | the fields of records as arrays; records as the user's structs        |
| `frombuffer.jl` | which array type a Python buffer becomes                              |
| `layout.jl`     | the strided memory of Julia arrays, for Python                        |
| `fromvalue.jl`  | Python values to Julia                                                |
| `topython.jl`   | Julia values to Python                                                |
| `conversions.jl` | dates, fractions, enums; conversions that users add              |
| `errors.jl`     | Julia exceptions to Python                                            |
| `streams.jl`    | `stdout` and `stderr` are Python's                                    |
| `stdin.jl`      | `stdin` is Python's, on request                                       |
| `items.jl`      | indexing and slicing of a JuliaArray, and what else it asks for       |
| `assign.jl`     | assignment to its items, from any value of Python's                   |
| `masked.jl`     | values and a mask that says which are missing: `MaskedArray`         |
| `sparse.jl`     | sparse matrices                                                     |
| `arrow.jl`      | Arrow's arrays, both ways                                            |
| `tables.jl`     | tables as NamedTuples of vectors, both ways                           |
| `dtypes.jl`     | NumPy's dtypes of memory that no format describes                     |
| `slots.jl`      | attributes, display, comparison and iteration of Julia objects        |
| `operators.jl`  | their operators and numbers                                         |
| `introspection.jl` | their documentation, signatures, and display in notebooks         |
| `files.jl`      | `IO` as a file of Python's                                            |
| `sources.jl`    | where the definitions in Main came from                               |
| `evaluate.jl`   | `eval` and `include`                                                  |
| `cells.jl`      | what IPython needs: code with Python's values in it, completion, display |
| `start.jl`      | the entry from Python, and the start                                  |
| `compiled.jl`   | entries compiled for one function and one signature                   |
| `export.jl`     | typed exports                                                         |
| `modules.jl`    | modules, files and packages for Python's `import`; `using`            |
| `pickle.jl`     | Julia objects for Python's pickle; Julia's Serialization              |
| `boot.jl`       | what Python calls first                                               |
| `precompile.jl` | what is compiled with the package, and not in each process            |
"""
module BufferBridge

using LinearAlgebra: Adjoint, Transpose, transpose
import Dates
import Logging

export PyArray, PyStridedArray, PyIndirectArray, PyBorrowedArray, BufferReleased, PyObject, PyException, PyRecord, FixedString, RawBytes, LongDouble, MaskedArray, DateTime64, TimeDelta64, isnat, nat,
       pyconversion!, column, recordarray, @pyexport, pyexport,
       PyFunction, PyList, PyDict, PySet, PyIO, pyimport, pybuiltin, pycall, pyconvert, pygetattr, pygetitem, pyeval, pyexec,
       pywith, pytruth, pyis, pyisnone, pyisinstance, pymatmul, pycfunction

include("compat.jl")
include("wire.jl")
include("roots.jl")
include("interrupt.jl")
include("pyobject.jl")
include("pyoperators.jl")
include("pyconvert.jl")
include("pycontainers.jl")
include("pyio.jl")
include("pyimport.jl")
include("pycallback.jl")
include("longdouble.jl")
include("strings.jl")
include("records.jl")
include("memory.jl")
include("datetime64.jl")
include("parseformat.jl")
include("printformat.jl")
include("keep.jl")
include("pyarray.jl")
include("borrowed.jl")
include("columns.jl")
include("frombuffer.jl")
include("layout.jl")
include("fromvalue.jl")
include("topython.jl")
include("conversions.jl")
include("errors.jl")
include("streams.jl")
include("stdin.jl")
include("items.jl")
include("assign.jl")
include("masked.jl")
include("sparse.jl")
include("arrow.jl")
include("tables.jl")
include("dtypes.jl")
include("slots.jl")
include("operators.jl")
include("introspection.jl")
include("files.jl")
include("sources.jl")
include("evaluate.jl")
include("cells.jl")
include("start.jl")
include("compiled.jl")
include("export.jl")
include("modules.jl")
include("pickle.jl")
include("boot.jl")

include("precompile.jl")

end
