"""Quality and how sure it is: metrics, intervals, conservative estimates, risk control."""
