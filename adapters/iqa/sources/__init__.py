"""Where images and their labels come from: CSV lists, folders, Hugging Face data sets, the embedded world."""
