"""The ways an object can go, and the choice between them."""
