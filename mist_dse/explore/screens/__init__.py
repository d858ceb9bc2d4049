"""Every design at fidelity steady, as arrays: distinct servers once, designs by broadcasting."""
