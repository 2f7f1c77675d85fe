"""What a job found, as data, words and pictures; all that the command line and dashboard read."""
