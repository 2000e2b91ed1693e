#include "CAssets.h"

// The files of the pages are embedded in the program, so that there is only one file to deploy.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char stylesheet_bytes[] = {
#embed "latchkey.css"
};

static const unsigned char icon_bytes[] = {
#embed "icon.svg"
};

static const struct embedded_asset stylesheet = {stylesheet_bytes, sizeof stylesheet_bytes};
static const struct embedded_asset icon = {icon_bytes, sizeof icon_bytes};

const struct embedded_asset *embedded_stylesheet(void) { return &stylesheet; }

const struct embedded_asset *embedded_icon(void) { return &icon; }
