"""Account endpoints, below /api/."""

from django.urls import path

from accounts import api

urlpatterns = [
    path("register", api.RegisterView.as_view()),
    path("login", api.LoginView.as_view()),
    path("logout", api.LogoutView.as_view()),
    path("me", api.MeView.as_view()),
    path("users/<str:key>", api.UserProfileView.as_view()),
    path("ro", api.ReadOnlyTokenView.as_view()),
    path("contacts", api.ContactsView.as_view()),
    path("contacts/<int:limit>", api.ContactsView.as_view()),
    path("apps", api.ConnectionsView.as_view()),
    path("app", api.SaveConnectionView.as_view()),
    path("apps/delete", api.DeleteConnectionView.as_view()),
    path("app/<str:pubkey>", api.ConnectionView.as_view()),
]
