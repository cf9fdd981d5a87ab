"""The locks of UDFs: what each holds, whether it is up to date, and what of it an image needs."""
