"""Settings for Django's own tests: libpq's environment says where the server is."""

import os


def database(name):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": "none",
        "NAME": name,
    }


DATABASES = {"default": database("django"), "other": database("other")}
SECRET_KEY = "not one"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
