"""The job specification (job.yaml), validated."""
