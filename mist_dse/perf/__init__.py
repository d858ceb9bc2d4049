"""The equations: load of a step, operator and collective time, capacity, placement, price, power. Pure functions of specs and numbers."""
