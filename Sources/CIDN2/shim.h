// Only what makes one form of a domain: idn2_to_ascii_8z.
#pragma once

#include <idn2.h>
