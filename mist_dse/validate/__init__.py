"""Predictions against measurements: importers, load-generator recipes, scores, intervals, and the calibration of profiles."""
