"""One function a job, from references to a result: what Python callers call."""
