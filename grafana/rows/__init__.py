"""The dashboard's rows, one question each."""
