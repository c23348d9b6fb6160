# For type checkers and editors; the functions themselves are the typed exports of src/Kmeans1D.jl.
from collections.abc import Sequence
from typing import NamedTuple

from typing_extensions import Buffer

from bufferbridge import JuliaArray

class Clustering(NamedTuple):
    clusters: JuliaArray
    centroids: JuliaArray

def cluster(x: Buffer | Sequence[float], k: int, /) -> Clustering: ...
