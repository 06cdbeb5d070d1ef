"""Helpers that several tests share: small projects, stores, movies and readers."""
