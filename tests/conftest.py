"""Drawn examples are the same on every run of the suite; `make test-slow` draws new ones, more of them, to find what these miss."""

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None)
settings.load_profile("steady")
