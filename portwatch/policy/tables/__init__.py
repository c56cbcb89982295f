"""A policy → the tables that the kernel looks outcomes up in, and looking them up here."""
