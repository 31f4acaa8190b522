"""AskOnce: a caching proxy in front of OpenAI-compatible APIs. Start reading at `pipeline.py`."""
