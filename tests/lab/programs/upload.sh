# Log in to Wagtail's admin as a browser does, and upload an image: upload.sh ADDRESS NAME PASSWORD IMAGE
set -eu
address=$1 site=https://$2 password=$3 image=$4
jar=$(mktemp)
ask() { curl -sSk --fail -b "$jar" -c "$jar" --connect-to "::$address:" -e "$site/admin/" "$@"; }
token() { ask "$site$1" | sed -n 's/.*name="csrfmiddlewaretoken" value="\([^"]*\)".*/\1/p' | head -n 1; }
token=$(token /admin/login/)
ask -o /dev/null -F "csrfmiddlewaretoken=$token" -F username=editor -F "password=$password" "$site/admin/login/"
token=$(token /admin/images/add/)
ask -o /dev/null -w '%{http_code} %{redirect_url}\n' -F "csrfmiddlewaretoken=$token" -F title=logo -F tags= \
    -F "file=@$image" "$site/admin/images/add/"
