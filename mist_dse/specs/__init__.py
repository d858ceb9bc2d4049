"""The nouns that people use: hardware, model, pipeline, workload, design, evaluation. Frozen, validated, SI units."""
