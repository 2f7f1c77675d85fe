"""What the user writes: job.yaml, checked."""
