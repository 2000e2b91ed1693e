// Converts a domain to ASCII: idn2_to_ascii_8z.
#pragma once

#include <idn2.h>
