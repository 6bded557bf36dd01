"""The trading day around the engine: what it starts with, what it ends with, what is kept of it. Python only, exact integers."""
