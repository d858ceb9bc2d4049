"""What a finished run says: which variables matter, how sure its front is, what differs from another run."""
