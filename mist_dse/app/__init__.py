"""The door: commands, Hydra configuration, progress, results on standard output. No formula stands here."""
