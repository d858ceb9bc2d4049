"""A vector index: what a retrieval stage searches. Recall is the user's to know: no equation here claims any."""

from dataclasses import dataclass

from mist_dse.specs._check import SpecError, not_negative, one_of, positive

INDEX_KINDS = ("brute_force", "ivf_flat", "ivf_pq", "scann", "hnsw")
COARSE = ("flat", "hnsw", "none")
FAST_SCANS = ("none", "fs", "fsr")
VECTOR_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
"""Bytes per value of a stored vector."""

PARTITIONED = ("ivf_flat", "ivf_pq", "scann")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """``vectors`` of ``dimensions`` in ``dtype``, found by one of `INDEX_KINDS`.

    ``ivf_flat``, ``ivf_pq``, ``scann``: ``n_probe`` of ``n_list`` lists are scanned; ``imbalance``: scanned vectors over those of lists
    of equal size (None = as measured, by ``n_probe``). ``code_bytes`` per vector as scanned (product-quantised; 0 = the vector
    itself). ``coarse``: the lists to probe are found by scanning all centroids (``flat``) or by a graph (``hnsw``, at
    ``ef_search``); ``none``: leaf level only, the upper levels of the tree are not counted. ``fast_scan`` of ``ivf_pq``: ``none``
    8-bit codes and tables in memory, ``fs`` 4-bit codes and one table in registers, ``fsr`` the same of residuals, so a table per list.
    ``scann`` is a tree whose leaves are scanned at the host's rate of 4-bit codes, everything included.

    ``hnsw``: a graph of degree ``links`` (twice that on its lowest level), searched at ``ef_search``; ``distances``: vectors that a
    query is compared with, as measured (None = class default). ``rerank``: candidates compared exactly at the end.
    ``scan_rate``: bytes per second of codes that one thread scans, as measured (None = host or class). ``id_bytes`` per vector.
    """

    kind: str
    vectors: int
    dimensions: int
    dtype: str = "fp32"
    code_bytes: int = 0
    n_list: int = 0
    n_probe: int = 0
    imbalance: float | None = None
    coarse: str = "flat"
    fast_scan: str = "none"
    links: int = 32
    ef_search: int = 0
    distances: float | None = None
    rerank: int = 0
    scan_rate: float | None = None
    id_bytes: int = 8

    def __post_init__(self) -> None:
        one_of(self, INDEX_KINDS, kind=self.kind)
        one_of(self, tuple(VECTOR_BYTES), dtype=self.dtype)
        one_of(self, COARSE, coarse=self.coarse)
        one_of(self, FAST_SCANS, fast_scan=self.fast_scan)
        positive(self, vectors=self.vectors, dimensions=self.dimensions, links=self.links, imbalance=self.imbalance,
                 distances=self.distances, scan_rate=self.scan_rate)  # fmt: skip
        not_negative(self, code_bytes=self.code_bytes, n_list=self.n_list, n_probe=self.n_probe, ef_search=self.ef_search,
                     rerank=self.rerank, id_bytes=self.id_bytes)  # fmt: skip
        self._check_lists()
        self._check_codes()
        if self._searches_a_graph and not self.ef_search:
            raise SpecError(f"Index.ef_search of {self.kind} is missing: a graph (hnsw, or coarse: hnsw) needs it")
        if self.rerank > self.vectors:
            raise SpecError(f"Index.rerank is {self.rerank}: must be at most vectors = {self.vectors}")

    def _check_lists(self) -> None:
        if not self.is_partitioned:
            if self.n_list or self.n_probe:
                raise SpecError(f"Index.n_list and n_probe are set for {self.kind}: only {', '.join(PARTITIONED)} have lists")
        elif not 1 <= self.n_probe <= self.n_list <= self.vectors:
            raise SpecError(
                f"Index.n_probe is {self.n_probe} of n_list {self.n_list}: {self.kind} needs 1 <= n_probe <= n_list <= vectors "
                f"= {self.vectors}"
            )
        if self.imbalance is not None and self.imbalance < 1:
            raise SpecError(f"Index.imbalance is {self.imbalance}: must be at least 1, what lists of equal size give")

    def _check_codes(self) -> None:
        if self.kind in ("ivf_pq", "scann") and not self.code_bytes:
            raise SpecError(f"Index.code_bytes of {self.kind} is missing: give the bytes of one quantised vector")
        if self.kind in ("ivf_flat", "hnsw") and self.code_bytes:
            raise SpecError(f"Index.code_bytes is {self.code_bytes} for {self.kind}: it keeps whole vectors, leave it out")
        if self.fast_scan != "none" and self.kind != "ivf_pq":
            raise SpecError(f"Index.fast_scan is {self.fast_scan!r} for {self.kind}: only ivf_pq has variants")

    @property
    def is_partitioned(self) -> bool:
        """Whether vectors lie in lists of which some are probed."""
        return self.kind in PARTITIONED

    @property
    def _searches_a_graph(self) -> bool:
        return self.kind == "hnsw" or (self.is_partitioned and self.coarse == "hnsw")

    @property
    def vector_bytes(self) -> int:
        """Bytes of one whole vector."""
        return self.dimensions * VECTOR_BYTES[self.dtype]

    @property
    def scanned_bytes(self) -> int:
        """Bytes of one vector as scanned: its code, or the vector itself."""
        return self.code_bytes or self.vector_bytes
