"""The order of the stages of a job, for one device and for several."""
