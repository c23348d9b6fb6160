# Sparse matrices: SciPy's compressed columns and rows are Julia's SparseMatrixCSC and its transpose, with the values shared.
#
# The index arrays count from 0 in Python and from 1 in Julia, so that they are copies; what is checked is the copy. SparseArrays is
# loaded by the first use: not every Julia has it in its image.

const SPARSE_ARRAYS = Base.PkgId(Base.UUID("2f01184e-e22b-5df5-ae63-d93ebab69eaf"), "SparseArrays")

"Loads SparseArrays. A call of its own: what it defines is not known to the call that loads it."
loadsparse() = (Base.require(SPARSE_ARRAYS); nothing)

sparsearrays() = Base.loaded_modules[SPARSE_ARRAYS]

"""
    sparsefrom(m, n, indptr, indices, data) -> SparseMatrixCSC

The `m` by `n` matrix with SciPy's arrays of a csc matrix, and the memory of `data`, its values. Throws an ArgumentError where the
arrays contradict each other, or are not what Julia needs.

Up to Julia 1.10 memory of Python's can't be resized, so that a new entry throws. It does so where it changes `rowval`, which comes first:
otherwise that would have grown already.
"""
function sparsefrom(m::Int, n::Int, indptr::AbstractVector{<:Integer}, indices::AbstractVector{<:Integer}, data::AbstractVector)
    length(indptr) == n + 1 || inconsistent("indptr has $(length(indptr)) items and not $(n + 1)")
    first(indptr) == 0 || inconsistent("indptr does not begin with 0")
    nnz = Int(last(indptr))
    0 <= nnz == length(data) <= length(indices) ||
        inconsistent("indptr ends with $nnz, and there are $(length(indices)) indices and $(length(data)) values")
    Ti = indextype(max(m, n, nnz), indptr, indices)
    colptr, rowval = onebased(Ti, indptr, n + 1), onebased(Ti, indices, nnz)
    colptr[1] == 1 && colptr[n+1] == nnz + 1 && all(j -> colptr[j] <= colptr[j+1], 1:n) || inconsistent("indptr decreases")
    for j in 1:n
        checkindices(rowval, colptr[j], colptr[j+1] - 1, m, "A.sort_indices()")
    end
    S = sparsearrays().SparseMatrixCSC(m, n, colptr, rowval, valuevector(data))
    forbidresizing!(rowval)
    return S
end

"The same of a SciPy array of one axis, which has the coordinates of its values."
function sparsevectorfrom(n::Int, indices::AbstractVector{<:Integer}, data::AbstractVector)
    length(indices) == length(data) || inconsistent("there are $(length(indices)) indices and $(length(data)) values")
    nzind = onebased(indextype(n, indices), indices, length(data))
    checkindices(nzind, 1, length(nzind), n, "A.sum_duplicates()") # which sorts, too
    x = sparsearrays().SparseVector(n, nzind, valuevector(data))
    forbidresizing!(nzind)
    return x
end

transposedsparse(args...) = transpose(sparsefrom(args...))

indextype(largest::Int, arrays::AbstractVector...) =
    largest < typemax(Int32) && all(a -> sizeof(eltype(a)) <= 4, arrays) ? Int32 : Int64

# Others may change the array meanwhile, so that the first `n` items are looked at once, here.
function onebased(::Type{Ti}, indices, n) where {Ti}
    ones = Vector{Ti}(undef, n)
    for i in 1:n
        v = indices[i]
        0 <= v < typemax(Ti) || inconsistent("the index $v is out of range")
        ones[i] = v + 1
    end
    return ones
end

function checkindices(indices, from, to, m, sort)
    for k in from:to
        indices[k] <= m || inconsistent("the index $(indices[k] - 1) is out of range for an axis of $m")
        k == from || indices[k-1] < indices[k] || throw(ArgumentError(indices[k-1] == indices[k] ?
            "the matrix has several values for one place, which Julia's have not: add them up by A.sum_duplicates()" :
            "the indices of the matrix are not in order, as Julia needs them: sort them by $sort"))
    end
end

inconsistent(what) = throw(ArgumentError("the matrix is not valid: $what"))

function valuevector(data)
    data isa Vector{<:Number} && return data
    throw(ArgumentError(
        !(eltype(data) <: Number) ? "the values of a sparse matrix are numbers in Julia, and these are of type $(eltype(data))" :
        isreadonly(data) ? "the values of the matrix are read-only, and those of Julia's can't be: pass A.copy()" :
        "the values of the matrix are not contiguous, aligned and in this machine's byte order, as Julia needs them: pass A.copy()"))
end

"""
    sparseparts(x) -> format, shape, indptr, indices, data

What SciPy's "csc" or "csr" matrix of `x` is made of, or (with `indptr` nothing) its "coo" array of one axis. `data` is the Vector of `x`.
"""
function sparseparts(@nospecialize(x::AbstractArray))
    if x isa Union{Transpose,Adjoint}
        x isa Adjoint && !(eltype(x) <: Real) && throw(ArgumentError(
            "an adjoint of complex numbers conjugates them: transpose(S) can be shared, and copy(S') copies"))
        parts = sparseparts(parent(x))
        parts[1] == "csc" && return ("csr", reverse(parts[2]), parts[3:5]...)
    elseif haskey(Base.loaded_modules, SPARSE_ARRAYS)
        arrays = sparsearrays()
        if x isa arrays.AbstractSparseMatrixCSC
            colptr, rowval = arrays.getcolptr(x), arrays.rowvals(x)
            return ("csc", size(x), colptr .- one(eltype(colptr)), zerobased(rowval), sharable(arrays.nonzeros(x), rowval))
        elseif x isa arrays.SparseVector
            nzind = arrays.nonzeroinds(x)
            return ("coo", size(x), nothing, zerobased(nzind), sharable(arrays.nonzeros(x), nzind))
        end
    end
    throw(PyTypeError("to_scipy takes a SparseMatrixCSC, its transpose, or a SparseVector, and this is $(shortname(x)): " *
                      "SparseArrays' sparse(x) makes one of any matrix"))
end
zerobased(indices) = indices .- one(eltype(indices))

# A new entry of the matrix must fail before one of the two has changed.
function sharable(values::Vector{T}, indices::Vector) where {T}
    l = layout(values)
    l isa NotShared && throw(ArgumentError("the values of this matrix can't be shared: $(l.reason)"))
    (T === Bool || typekind(T) in "iufc") && T !== Float16 ||
        throw(ArgumentError("SciPy has no sparse arrays of $T: convert the values, by float.(S) or Float32.(S)"))
    forbidresizing!(indices)
    return values
end
