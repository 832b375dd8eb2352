"""What the servers are called in the results."""

CROSSRANK, INFINITY, PLAIN = "crossrank", "infinity-emb", "plain server"
NAMES = (CROSSRANK, INFINITY, PLAIN)
BARE = "bare model"
MODEL_NAME = "crossrank/bench"  # what crossrank serves the checkpoint as
