"""A model that answers: an OpenAI-compatible server on Ray Serve."""
