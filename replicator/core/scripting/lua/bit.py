"""bit.*: operations on 32-bit integers, as the BitOp library has them.

Source: https://bitop.luajit.org/semantics.html
"""

BIT = r"""
local host, engine = ...
local bad_type = engine.bad_type
local floor, format, frexp, abs = math.floor, string.format, math.frexp, math.abs
local band, bor, bxor = host.band, host.bor, host.bxor
local type, tonumber, select = type, tonumber, select
local RANGE = 4294967296

local function wanted(at, name, count, value)
  local number = tonumber(value)
  if number == nil then
    local got = at > count and 'no value' or type(value)
    error(format("bad argument #%d to '%s' (number expected, got %s)", at, name, got), 4)
  end
  return number
end

-- 0 .. 2^32-1: rounded to the nearest integer (halves to even), modulo 2^32. The library adds 2^52 + 2^51 and takes the
-- low 32 bits of what stands in memory then; beyond 2^51 these are bits of a mantissa that was shifted.
local function unsigned(at, name, count, value)
  if type(value) ~= 'number' then value = wanted(at, name, count, value) end
  value = value + 6755399441055744
  if value >= 4503599627370496 and value < 9007199254740992 then return value % RANGE end
  if value ~= value or value == 1 / 0 or value == -1 / 0 then return 0 end
  return frexp(abs(value)) * 9007199254740992 % RANGE
end

local function signed(value)
  if value >= 2147483648 then return value - RANGE end
  return value
end

local bit = {}

function bit.tobit(...)
  local value = unsigned(1, 'tobit', select('#', ...), (...))
  return signed(value)
end

function bit.bnot(...)
  local value = unsigned(1, 'bnot', select('#', ...), (...))
  return signed(RANGE - 1 - value)
end

local function fold(name, operation)
  bit[name] = function(...)
    local count = select('#', ...)
    local result = unsigned(1, name, count, (...))
    for at = 2, count do
      local value = unsigned(at, name, count, (select(at, ...)))
      result = operation(result, value)
    end
    return signed(result)
  end
end

fold('band', band)
fold('bor', bor)
fold('bxor', bxor)

local function shift(name, operation)
  bit[name] = function(...)
    local count = select('#', ...)
    local value, by = ...
    value = unsigned(1, name, count, value)
    by = unsigned(2, name, count, by) % 32
    return signed(operation(value, by))
  end
end

shift('lshift', function(value, by) return value * 2 ^ by % RANGE end)
shift('rshift', function(value, by) return floor(value / 2 ^ by) end)
shift('arshift', function(value, by) return floor(signed(value) / 2 ^ by) % RANGE end)
shift('rol', function(value, by) return value * 2 ^ by % RANGE + floor(value / 2 ^ (32 - by)) end)
shift('ror', function(value, by) return floor(value / 2 ^ by) + value * 2 ^ (32 - by) % RANGE end)

function bit.bswap(...)
  local value = unsigned(1, 'bswap', select('#', ...), (...))
  local a, b, c, d = floor(value / 16777216), floor(value / 65536) % 256, floor(value / 256) % 256, value % 256
  return signed(d * 16777216 + c * 65536 + b * 256 + a)
end

function bit.tohex(...)
  local count = select('#', ...)
  local value, digits = ...
  value = unsigned(1, 'tohex', count, value)
  digits = count < 2 and 8 or signed(unsigned(2, 'tohex', count, digits))
  local form = 'x'
  if digits < 0 then digits, form = -digits, 'X' end
  if digits > 8 then digits = 8 end   -- also of -2^31, for which stock writes outside its buffer
  if digits == 0 then return '' end
  return (format('%08' .. form, value):sub(-digits))
end

return bit
"""
