# shellcheck shell=sh
# Sourced first by every build step that goes to the network: takes over what the host said
# about its private CA, its package index and its proxy. All come as BuildKit secrets, so that
# nothing stays in a layer, a label or the history. A secret that was not given changes nothing.

if [ -s /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca      # uv
    export PIP_CERT=/run/secrets/ca           # pip
    export REQUESTS_CA_BUNDLE=/run/secrets/ca # Poetry
    export CURL_CA_BUNDLE=/run/secrets/ca GIT_SSL_CAINFO=/run/secrets/ca
fi

if [ -s /run/secrets/netrc ]; then
    export NETRC=/run/secrets/netrc
fi

# Lines of NAME=value, such as UV_DEFAULT_INDEX=https://user:password@index.example/simple; steps
# that ask no package index get those of the proxy alone.
for settings in /run/secrets/host-env /run/secrets/proxy; do
    if [ -s "$settings" ]; then
        while IFS= read -r setting; do
            export "${setting?}"
        done <"$settings"
    fi
done
