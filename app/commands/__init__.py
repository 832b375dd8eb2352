"""What the `crossrank` command can do, one file a group. Each returns the exit status."""
