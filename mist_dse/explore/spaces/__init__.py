"""What may be chosen: the space language, the designs that it stands for, and how many they are."""
