"""The gate for CI: is what would be shipped now worse than what was shipped?"""
