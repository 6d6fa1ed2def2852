"""The account's pages, at the root."""

from django.urls import path

from accounts import docs, recovery, security, sign_in, streams, views

urlpatterns = [
    path("", sign_in.home, name="home"),
    path("register", sign_in.register, name="register"),
    path("login", sign_in.sign_in, name="login"),
    path("login/code", sign_in.login_code, name="login_code"),
    path("logout", sign_in.sign_out, name="logout"),
    path("privacy", sign_in.privacy, name="privacy"),
    path("support", sign_in.support, name="support"),
    path("language", sign_in.choose_language, name="choose_language"),
    path("swap", views.swap, name="swap"),
    path("swap/hide", views.hide_balance, name="hide_balance"),
    path("events", streams.page_events, name="events"),
    path("settings", views.settings, name="settings"),
    path("settings/profile", views.save_profile, name="save_profile"),
    path("settings/picture", views.save_picture, {"kind": "picture"}, name="save_picture"),
    path("settings/banner", views.save_picture, {"kind": "banner"}, name="save_banner"),
    path("settings/close", views.close_account, name="close_account"),
    path("picture/<uuid:user_id>", views.picture, {"kind": "picture"}, name="picture"),
    path("picture/<uuid:user_id>/banner", views.picture, {"kind": "banner"}, name="banner"),
    path("settings/preferences", views.save_preferences, name="save_preferences"),
    path("settings/tips", views.save_tips, name="save_tips"),
    path("settings/notifications", views.save_notifications, name="save_notifications"),
    path("settings/password", views.change_password, name="change_password"),
    path("settings/pin", views.change_pin, name="change_pin"),
    path("settings/lock-timer", security.set_lock_timer, name="set_lock_timer"),
    path("settings/second-factor", security.confirm_second_factor, name="second_factor"),
    path("settings/second-factor/new", security.begin_second_factor, name="begin_second_factor"),
    path(
        "settings/second-factor/off", security.turn_off_second_factor, name="turn_off_second_factor"
    ),
    path("settings/recovery-codes", security.renew_recovery_codes, name="renew_recovery_codes"),
    path("settings/email", security.save_email, name="save_email"),
    path("settings/email/link", security.send_link, name="send_link"),
    path("verify/<str:token>", security.verify_email, name="verify_email"),
    path("forgot", recovery.forgot, name="forgot"),
    path("reset/<uuid:user_id>/<str:token>", recovery.reset, name="reset"),
    path("settings/sessions", views.revoke_all, name="revoke_all"),
    path("settings/sessions/<uuid:session_id>", views.revoke_session, name="revoke_session"),
    path("settings/keys", views.create_api_key, name="create_api_key"),
    path("settings/keys/<uuid:key_id>", views.revoke_api_key, name="revoke_api_key"),
    path("settings/read-only", views.show_read_only_token, name="show_read_only_token"),
    path("docs", docs.page, name="docs"),
    path("docs/errors", docs.errors, name="docs_errors"),
]
