"""The HTTP layer. Knows FastAPI and pydantic; knows nothing of tensors."""
