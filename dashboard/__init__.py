"""The Streamlit application. Nothing is built here yet."""
