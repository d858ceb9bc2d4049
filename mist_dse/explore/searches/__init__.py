"""The order in which designs are simulated, the Optuna study that records it, and when it ends."""
