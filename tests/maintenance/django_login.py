"""Django with its own sessions and users: `migrate` makes them, `login` logs in as a browser does."""

import os
import sys

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="not a secret",
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": os.environ["PORT"],
            "NAME": "app",
            "USER": "app",
            "PASSWORD": "app",
            "ATOMIC_REQUESTS": sys.argv[1] == "login-atomic",
            "DISABLE_SERVER_SIDE_CURSORS": True,
        }
    },
)
django.setup()

from django.contrib.auth import authenticate, login  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402


def log_in(request):
    user = authenticate(request, username="ann", password="secret")
    login(request, user)
    request.session["cart"] = [1, 2]
    return HttpResponse(f"welcome {request.user.username}")


urlpatterns = [path("login", log_in)]

if sys.argv[1] == "migrate":
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    User.objects.create_user("ann", password="secret")
else:
    from django.test import Client

    response = Client().post("/login")
    assert response.status_code == 200, response.content
    print(response.content.decode())
