"""cjson: JSON to Lua and back, with the options and messages of lua-cjson 2.1 (asked of Redis 7.0.15)."""

CJSON = r"""
local host, engine = ...
local bad_argument, bad_type, null, real_of = engine.bad_argument, engine.bad_type, engine.null, engine.real_of
local int32 = engine.int32
local byte, sub, find, gsub = string.byte, string.sub, string.find, string.gsub
local format, char, match = string.format, string.char, string.match
local concat, floor = table.concat, math.floor
local type, tostring, tonumber, select = type, tostring, tonumber, select
local error, pcall, next, rawget = error, pcall, next, rawget

local ESCAPES = {
  ['"'] = '\\"', ['\\'] = '\\\\', ['/'] = '\\/', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r',
  ['\t'] = '\\t', ['\127'] = '\\u007f',
}
for code = 0, 31 do
  local letter = char(code)
  ESCAPES[letter] = ESCAPES[letter] or format('\\u%04x', code)
end
local UNESCAPES = {
  [34] = '"', [92] = '\\', [47] = '/', [98] = '\b', [102] = '\f', [110] = '\n', [114] = '\r', [116] = '\t',
}

local function utf8(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64) end
  local second, third = 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64
  return char(0xF0 + floor(code / 262144), second, third, 0x80 + code % 64)
end

-- the level of an error that a library function caught in itself: what is no message of its own stays as it is
local function placed(why)
  return type(why) == 'string' and why ~= 'not enough memory' and 2 or 0
end

local make

function make()
  local encode_depth, decode_depth = 1000, 1000
  local sparse_convert, sparse_ratio, sparse_safe = false, 2, 10
  local precision, number_format = 14, '%.14g'
  local encode_invalid, decode_invalid, keep_buffer = false, true, true
  local cjson = { null = null, _NAME = 'cjson', _VERSION = '2.1.0' }

  -- encoding --------------------------------------------------------------------------------------------------------

  local function quoted(text)
    if find(text, '[%c"\\/\127]') or find(text, '%z') then text = gsub(text, '[%c%z"\\/\127]', ESCAPES) end
    return '"' .. text .. '"'
  end

  local function number_text(value)
    if value ~= value or value == 1 / 0 or value == -1 / 0 then
      if encode_invalid == 'null' then return 'null' end
      if not encode_invalid then error('Cannot serialise number: must not be NaN or Inf', 0) end
      if value ~= value then return 'nan' end
      return value > 0 and 'inf' or '-inf'
    end
    return format(number_format, value)
  end

  -- how long t is as an array, or nil: it is an object
  local function array_length(t)
    local most, items = 0, 0
    for key in next, t do
      if type(key) ~= 'number' or key < 1 or floor(key) ~= key then return nil end
      if key > most then most = key > 2147483647 and -2147483648 or key end   -- as it overflows in the library's int
      items = items + 1
    end
    if sparse_ratio > 0 and most > items * sparse_ratio and most > sparse_safe then
      if not sparse_convert then error('Cannot serialise table: excessively sparse array', 0) end
      return nil
    end
    return most
  end

  local encode_value

  local function encode_table(t, out, depth)
    t = real_of[t] or t
    if depth > encode_depth then error(format('Cannot serialise, excessive nesting (%d)', depth), 0) end
    local length = array_length(t)
    if length and length > 0 then
      out[#out + 1] = '['
      for i = 1, length do
        if i > 1 then out[#out + 1] = ',' end
        encode_value(rawget(t, i), out, depth)
      end
      out[#out + 1] = ']'
      return
    end
    out[#out + 1] = '{'
    local first = true
    for key, value in next, t do
      if not first then out[#out + 1] = ',' end
      first = false
      if type(key) == 'string' then
        out[#out + 1] = quoted(key)
      elseif type(key) == 'number' then
        out[#out + 1] = '"' .. number_text(key) .. '"'
      else
        error(format('Cannot serialise %s: table key must be a number or string', type(key)), 0)
      end
      out[#out + 1] = ':'
      encode_value(value, out, depth)
    end
    out[#out + 1] = '}'
  end

  function encode_value(value, out, depth)
    local kind = type(value)
    if kind == 'string' then out[#out + 1] = quoted(value)
    elseif kind == 'number' then out[#out + 1] = number_text(value)
    elseif kind == 'table' then encode_table(value, out, depth + 1)
    elseif kind == 'boolean' then out[#out + 1] = value and 'true' or 'false'
    elseif kind == 'nil' or value == null then out[#out + 1] = 'null'
    else error(format('Cannot serialise %s: type not supported', kind), 0) end
  end

  function cjson.encode(...)
    if select('#', ...) ~= 1 then bad_argument(1, 'encode', 'expected 1 argument') end
    local out = {}
    local ok, why = pcall(encode_value, (...), out, 0)
    if not ok then error(why, placed(why)) end
    return (concat(out))
  end

  -- decoding --------------------------------------------------------------------------------------------------------

  local data, at, depth = '', 1, 0

  local function fail(wanted, found, where)
    error(format('Expected %s but found %s at character %d', wanted, found, where), 0)
  end

  local function four_hex(from)
    local digits = match(data, '^%x%x%x%x', from)
    return digits and tonumber(digits, 16)
  end

  local function escaped(from, wanted)
    local code = byte(data, from + 1)
    local plain = UNESCAPES[code]
    if plain then return plain, from + 2 end
    if code ~= 117 then fail(wanted, 'invalid escape code', from) end
    local value = four_hex(from + 2)
    if not value then fail(wanted, 'invalid unicode escape code', from) end
    local behind = from + 6
    if value >= 0xD800 and value < 0xE000 then
      local low = value < 0xDC00 and sub(data, behind, behind + 1) == '\\u' and four_hex(behind + 2)
      if not low or low < 0xDC00 or low > 0xDFFF then fail(wanted, 'invalid unicode escape code', from) end
      value = 0x10000 + (value - 0xD800) * 1024 + low - 0xDC00
      behind = behind + 6
    end
    return utf8(value), behind
  end

  -- the string whose opening quote is at `at`
  local function read_string(wanted)
    local from = at + 1
    local stop = find(data, '["\\%z]', from)
    if stop and byte(data, stop) == 34 then
      at = stop + 1
      return sub(data, from, stop - 1)
    end
    local pieces = {}
    while true do
      if not stop or byte(data, stop) == 0 then fail(wanted, 'unexpected end of string', stop or #data + 1) end
      pieces[#pieces + 1] = sub(data, from, stop - 1)
      if byte(data, stop) == 34 then
        at = stop + 1
        return concat(pieces)
      end
      pieces[#pieces + 1], from = escaped(stop, wanted)
      stop = find(data, '["\\%z]', from)
    end
  end

  local NAMES = {
    [91] = 'T_ARR_BEGIN', [93] = 'T_ARR_END', [123] = 'T_OBJ_BEGIN', [125] = 'T_OBJ_END', [44] = 'T_COMMA',
    [58] = 'T_COLON',
  }

  local function number_at(wanted)
    local first = byte(data, at)
    if first == 43 and not decode_invalid then fail(wanted, 'invalid token', at) end
    local unsigned = match(data, '^[+-]?()', at)
    if not decode_invalid then
      local following, second = byte(data, unsigned, unsigned + 1)
      if following == 48 and second and (find(char(second), '[%dxX]')) then fail(wanted, 'invalid number', at) end
      if following == nil or not find(char(following), '%d') then fail(wanted, 'invalid number', at) end
    end
    local text = match(data, '^[+-]?0[xX]%x+', at)
    if text then
      at = at + #text
      local value = tonumber((gsub(text, '^[+-]', '')))
      return byte(text) == 45 and -value or value
    end
    text = match(data, '^[+-]?%d+%.?%d*', at) or match(data, '^[+-]?%.%d+', at)
    if text then
      text = text .. (match(data, '^[eE][+-]?%d+', at + #text) or '')
      at = at + #text
      return tonumber(text)
    end
    local sign, word = match(data, '^([+-]?)(%a+)', at)
    word = word and word:lower() or ''
    local value
    if sub(word, 1, 8) == 'infinity' then value, word = 1 / 0, 'infinity'
    elseif sub(word, 1, 3) == 'inf' then value, word = 1 / 0, 'inf'
    elseif sub(word, 1, 3) == 'nan' then value, word = -(0 / 0), 'nan'
    else fail(wanted, 'invalid number', at) end
    at = at + #sign + #word
    if sign == '-' then return -value end
    return value
  end

  -- what stands at `at`, named as errors name it; at is behind blanks
  local function token_name()
    local code = byte(data, at)
    if code == nil or code == 0 then return 'T_END' end
    if NAMES[code] then return NAMES[code] end
    if code == 34 then return 'T_STRING' end
    if find(data, '^[%d+-]', at) then return 'T_NUMBER' end
    local word = match(data, '^%l+', at) or ''
    if sub(word, 1, 4) == 'true' or sub(word, 1, 5) == 'false' then return 'T_BOOLEAN' end
    if sub(word, 1, 4) == 'null' then return 'T_NULL' end
    word = sub(data, at, at + 2):lower()
    if decode_invalid and (word == 'inf' or word == 'nan') then return 'T_NUMBER' end
    return 'invalid token'
  end

  local function unexpected(wanted)
    local name, from = token_name(), at
    -- a token that is broken in itself is reported as that
    if name == 'T_STRING' then read_string(wanted) elseif name == 'T_NUMBER' then number_at(wanted) end
    fail(wanted, name, from)
  end

  local function skip_blanks()
    at = match(data, '^[ \t\n\r]*()', at)
  end

  local decode_value

  local function descend()
    depth = depth + 1
    if depth > decode_depth then
      error(format('Found too many nested data structures (%d) at character %d', depth, at - 1), 0)
    end
  end

  local function decode_array()
    at = at + 1
    descend()
    local items, count = {}, 0
    skip_blanks()
    if byte(data, at) == 93 then
      at = at + 1
      depth = depth - 1
      return items
    end
    while true do
      count = count + 1
      items[count] = decode_value()
      skip_blanks()
      local code = byte(data, at)
      if code == 93 then
        at = at + 1
        depth = depth - 1
        return items
      end
      if code ~= 44 then unexpected('comma or array end') end
      at = at + 1
      skip_blanks()
    end
  end

  local function decode_object()
    at = at + 1
    descend()
    local object = {}
    skip_blanks()
    if byte(data, at) == 125 then
      at = at + 1
      depth = depth - 1
      return object
    end
    while true do
      if byte(data, at) ~= 34 then unexpected('object key string') end
      local key = read_string('object key string')
      skip_blanks()
      if byte(data, at) ~= 58 then unexpected('colon') end
      at = at + 1
      skip_blanks()
      object[key] = decode_value()
      skip_blanks()
      local code = byte(data, at)
      if code == 125 then
        at = at + 1
        depth = depth - 1
        return object
      end
      if code ~= 44 then unexpected('comma or object end') end
      at = at + 1
      skip_blanks()
    end
  end

  function decode_value()
    local code = byte(data, at)
    if code == 34 then return (read_string('value')) end
    if code == 123 then return decode_object() end
    if code == 91 then return decode_array() end
    if code == 116 and sub(data, at, at + 3) == 'true' then at = at + 4 return true end
    if code == 102 and sub(data, at, at + 4) == 'false' then at = at + 5 return false end
    if code == 110 and sub(data, at, at + 3) == 'null' then at = at + 4 return null end
    if token_name() == 'T_NUMBER' then return (number_at('value')) end
    unexpected('value')
  end

  local function decode_all()
    skip_blanks()
    local value = decode_value()
    skip_blanks()
    if at <= #data then
      unexpected('the end')
    end
    return value
  end

  function cjson.decode(...)
    local text = ...
    local count = select('#', ...)
    if count ~= 1 then bad_argument(1, 'decode', 'expected 1 argument') end
    if type(text) == 'number' then text = tostring(text) end
    if type(text) ~= 'string' then bad_type(1, 'decode', 'string', count, text) end
    if #text >= 2 then
      local first, second = byte(text, 1, 2)
      if first == 0 or second == 0 then error('JSON parser does not support UTF-16 or UTF-32', 2) end
    end
    data, at, depth = text, 1, 0
    local ok, value = pcall(decode_all)
    data = ''
    if not ok then error(value, placed(value)) end
    return value
  end

  -- options ---------------------------------------------------------------------------------------------------------

  local function integer_option(name, at_argument, count, value, least, most, current)
    if value == nil then return current end
    local number = tonumber(value)
    if number == nil then
      error(format("bad argument #%d to '%s' (number expected, got %s)", at_argument, name, type(value)), 3)
    end
    number = int32(number)
    if number < least or number > most then
      error(format("bad argument #1 to '%s' (expected integer between %d and %d)", name, least, most), 3)
    end
    return number
  end

  local function switch_option(name, value, current, more)
    if value == nil then return current end
    if type(value) == 'boolean' then return value end
    if value == 'on' then return true end
    if value == 'off' then return false end
    if more and value == more then return more end
    if type(value) ~= 'string' and type(value) ~= 'number' then
      error(format("bad argument #1 to '%s' (string expected, got %s)", name, type(value)), 3)
    end
    error(format("bad argument #1 to '%s' (invalid option '%s')", name, tostring(value)), 3)
  end

  local function at_most(name, most, count)
    if count > most then error(format("bad argument #%d to '%s' (found too many arguments)", most + 1, name), 3) end
  end

  function cjson.encode_max_depth(...)
    at_most('encode_max_depth', 1, select('#', ...))
    encode_depth = integer_option('encode_max_depth', 1, 1, (...), 1, 2147483647, encode_depth)
    return encode_depth
  end

  function cjson.decode_max_depth(...)
    at_most('decode_max_depth', 1, select('#', ...))
    decode_depth = integer_option('decode_max_depth', 1, 1, (...), 1, 2147483647, decode_depth)
    return decode_depth
  end

  function cjson.encode_number_precision(...)
    at_most('encode_number_precision', 1, select('#', ...))
    precision = integer_option('encode_number_precision', 1, 1, (...), 1, 14, precision)
    number_format = format('%%.%dg', precision)
    return precision
  end

  function cjson.encode_keep_buffer(...)
    at_most('encode_keep_buffer', 1, select('#', ...))
    keep_buffer = switch_option('encode_keep_buffer', (...), keep_buffer)
    return keep_buffer
  end

  function cjson.encode_invalid_numbers(...)
    at_most('encode_invalid_numbers', 1, select('#', ...))
    encode_invalid = switch_option('encode_invalid_numbers', (...), encode_invalid, 'null')
    return encode_invalid
  end

  function cjson.decode_invalid_numbers(...)
    at_most('decode_invalid_numbers', 1, select('#', ...))
    decode_invalid = switch_option('decode_invalid_numbers', (...), decode_invalid)
    return decode_invalid
  end

  function cjson.encode_sparse_array(...)
    local convert, ratio, safe = ...
    at_most('encode_sparse_array', 3, select('#', ...))
    sparse_convert = switch_option('encode_sparse_array', convert, sparse_convert)
    sparse_ratio = integer_option('encode_sparse_array', 2, 3, ratio, 0, 2147483647, sparse_ratio)
    sparse_safe = integer_option('encode_sparse_array', 3, 3, safe, 0, 2147483647, sparse_safe)
    return sparse_convert, sparse_ratio, sparse_safe
  end

  function cjson.new()
    return (make())
  end

  return cjson
end

return make()
"""
