"""The paper's claims as checks over stored runs."""
