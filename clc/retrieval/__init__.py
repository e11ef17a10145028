"""Retrieval: pictures to vectors, vectors to fewer dimensions, and the nearest of many vectors."""
