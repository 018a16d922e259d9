"""Language models: loading, architecture, scoring, patches, and everything that changes or steers them."""
