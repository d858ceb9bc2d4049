"""The closed list of stage kinds: each is a file of this room."""

KINDS = ("prefill", "decode")
"""Names that `Stage.kind` may take."""
