"""A job as a process: its lease, its journal, its images, and finding it again."""
