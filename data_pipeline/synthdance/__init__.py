"""A dance data set made on the spot: music, dancers and film with known truth."""
