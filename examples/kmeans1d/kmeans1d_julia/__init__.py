"""Optimal k-means clustering in one dimension, written in Julia: src/Kmeans1D.jl.

>>> from kmeans1d_julia import cluster
>>> clusters, centroids = cluster([4.0, 4.1, 4.2, -50.0, 200.2, 200.4], 3)
>>> list(clusters), centroids[0]
([1, 1, 1, 0, 2, 2], -50.0)
"""

import bufferbridge as bb

bb.package(__name__)
