"""cmsgpack: MessagePack, in the form that lua-cmsgpack 0.4 writes (asked of Redis 7.0.15).

Source: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

CMSGPACK = r"""
local host, engine = ...
local bad_type, real_of, int32 = engine.bad_type, engine.real_of, engine.int32
local byte, sub, char, format = string.byte, string.sub, string.char, string.format
local concat, floor, ceil = table.concat, math.floor, math.ceil
local type, tostring, tonumber, select = type, tostring, tonumber, select
local error, pcall, next, rawget = error, pcall, next, rawget
local pack_float, unpack_float = engine.roomy(host.pack_float), host.unpack_float
local DEEPEST = 16

local function big_endian(value, size)
  local bytes = {}
  for i = size, 1, -1 do
    bytes[i] = char(value % 256)
    value = floor(value / 256)
  end
  return concat(bytes)
end

local function pack_integer(value)
  if value >= 0 then
    if value <= 127 then return char(value) end
    if value <= 255 then return '\204' .. char(value) end
    if value <= 65535 then return '\205' .. big_endian(value, 2) end
    if value <= 4294967295 then return '\206' .. big_endian(value, 4) end
    return '\207' .. big_endian(value, 8)
  end
  if value >= -32 then return char(value + 256) end
  if value >= -128 then return '\208' .. char(value + 256) end
  if value >= -32768 then return '\209' .. big_endian(value + 65536, 2) end
  if value >= -2147483648 then return '\210' .. big_endian(value + 4294967296, 4) end
  -- two's complement by hand: 2^64 + value is not exact as a double
  local low = value % 4294967296
  local high = floor(value / 4294967296) % 4294967296
  return '\211' .. big_endian(high, 4) .. big_endian(low, 4)
end

local function pack_number(value)
  if floor(value) == value and value >= -9223372036854775808 and value < 9223372036854775808 then
    return pack_integer(value)
  end
  local short = pack_float('>f', value)
  if unpack_float('>f', short) == value then return '\202' .. short end
  return '\203' .. pack_float('>d', value)
end

local function pack_string(text)
  local length = #text
  if length < 32 then return char(160 + length) .. text end
  if length <= 255 then return '\217' .. char(length) .. text end
  if length <= 65535 then return '\218' .. big_endian(length, 2) .. text end
  return '\219' .. big_endian(length, 4) .. text
end

local function head(count, short, long)
  if count <= 15 then return char(short + count) end
  if count <= 65535 then return char(long) .. big_endian(count, 2) end
  return char(long + 1) .. big_endian(count, 4)
end

-- how long t is as an array, or nil; and how many entries it has
local function shape(t)
  local most, count = 0, 0
  local array = true
  for key in next, t do
    count = count + 1
    if type(key) == 'number' and key > 0 and floor(key) == key then
      if key > most then most = key end
    else
      array = false
    end
  end
  return array and most == count, count
end

local pack_value

local function pack_table(t, out, depth)
  t = real_of[t] or t
  local array, count = shape(t)
  if array then
    out[#out + 1] = head(count, 144, 220)
    for i = 1, count do pack_value(rawget(t, i), out, depth + 1) end
    return
  end
  out[#out + 1] = head(count, 128, 222)
  for key, value in next, t do
    pack_value(key, out, depth + 1)
    pack_value(value, out, depth + 1)
  end
end

function pack_value(value, out, depth)
  local kind = type(value)
  local text = '\192'
  if kind == 'table' then
    if depth < DEEPEST then
      pack_table(value, out, depth)
      return
    end
  elseif kind == 'string' then text = pack_string(value)
  elseif kind == 'number' then text = pack_number(value)
  elseif kind == 'boolean' then text = value and '\195' or '\194' end
  out[#out + 1] = text
end

local cmsgpack = {
  _NAME = 'cmsgpack',
  _VERSION = 'lua-cmsgpack 0.4.0',
  _COPYRIGHT = 'Copyright (C) 2012, Salvatore Sanfilippo',
  _DESCRIPTION = 'MessagePack C implementation for Lua',
}

function cmsgpack.pack(...)
  local count = select('#', ...)
  if count == 0 then error("bad argument #0 to 'pack' (MessagePack pack needs input.)", 2) end
  local out = {}
  for i = 1, count do pack_value((select(i, ...)), out, 0) end
  return (concat(out))
end

-- unpacking ---------------------------------------------------------------------------------------------------------

local data, at = '', 1

local function take(count)
  local from = at
  if from + count - 1 > #data then error('Missing bytes in input.', 0) end
  at = from + count
  return from
end

local function unsigned(size)
  local from, value = take(size), 0
  for i = from, from + size - 1 do value = value * 256 + byte(data, i) end
  return value
end

local function signed(size)
  local value = unsigned(size)
  local half = 2 ^ (8 * size - 1)
  if value >= half then value = value - 2 * half end
  return value
end

local function signed64()
  local high, low = signed(4), unsigned(4)
  return high * 4294967296 + low
end

local function text(length)
  local from = take(length)
  return sub(data, from, from + length - 1)
end

local unpack_value

local function deeper(depth)
  if depth > 7900 then error('stack overflow (in function mp_decode_to_lua_array)', 0) end
  return depth + 1
end

local function array(count, depth)
  local items = {}
  depth = deeper(depth)
  for i = 1, count do items[i] = unpack_value(depth) end
  return items
end

local function map(count, depth)
  local items = {}
  depth = deeper(depth)
  for _ = 1, count do
    local key = unpack_value(depth)
    local value = unpack_value(depth)
    if key == nil then error({ 'table index is nil' }, 0) end
    if key ~= key then error({ 'table index is NaN' }, 0) end
    items[key] = value
  end
  return items
end

local KINDS = {
  [192] = function() return nil end,
  [194] = function() return false end,
  [195] = function() return true end,
  [202] = function() return unpack_float('>f', text(4)) end,
  [203] = function() return unpack_float('>d', text(8)) end,
  [204] = function() return unsigned(1) end,
  [205] = function() return unsigned(2) end,
  [206] = function() return unsigned(4) end,
  [207] = signed64,   -- lua-cmsgpack reads it into a signed integer
  [208] = function() return signed(1) end,
  [209] = function() return signed(2) end,
  [210] = function() return signed(4) end,
  [211] = signed64,
  [217] = function() return text(unsigned(1)) end,
  [218] = function() return text(unsigned(2)) end,
  [219] = function() return text(unsigned(4)) end,
  [220] = function(depth) return array(unsigned(2), depth) end,
  [221] = function(depth) return array(unsigned(4), depth) end,
  [222] = function(depth) return map(unsigned(2), depth) end,
  [223] = function(depth) return map(unsigned(4), depth) end,
}

function unpack_value(depth)
  local kind = byte(data, take(1))
  if kind <= 127 then return kind end
  if kind >= 224 then return kind - 256 end
  if kind >= 160 and kind < 192 then return text(kind - 160) end
  if kind >= 144 and kind < 160 then return array(kind - 144, depth) end
  if kind < 144 then return map(kind - 128, depth) end
  local read = KINDS[kind]
  if read == nil then error('Bad data format in input.', 0) end
  return read(depth)
end

local function run(input, limit, offset)
  local length = #input
  if offset < 0 or limit < 0 then
    error(format('Invalid request to unpack with offset of %d and limit of %d.', int32(offset), length), 0)
  end
  if offset > length then error(format('Start offset %d greater than input length %d.', int32(offset), length), 0) end
  local every = limit == 0 and offset == 0
  if every then limit = 2147483647 end
  data, at = input, offset + 1
  local results, count = {}, 0
  while at <= length and count < limit do
    count = count + 1
    results[count] = unpack_value(0)
  end
  data = ''
  return results, count, at > length and -1 or at - 1
end

local function integer(at_argument, name, count, value, default)
  if value == nil and default then return default end
  local number = tonumber(value)
  if number == nil then
    local got = at_argument > count and 'no value' or type(value)
    error(format("bad argument #%d to '%s' (number expected, got %s)", at_argument, name, got), 3)
  end
  -- as C makes a 64-bit integer of it; NaN and what is too large become the smallest one
  if not (number >= -9223372036854775808 and number < 9223372036854775808) then return -9223372036854775808 end
  return number < 0 and ceil(number) or floor(number)
end

function cmsgpack.unpack(...)
  local input = ...
  local count = select('#', ...)
  if type(input) == 'number' then input = tostring(input) end
  if type(input) ~= 'string' then bad_type(1, 'unpack', 'string', count, input) end
  local ok, results, found = pcall(run, input, 0, 0)
  if not ok then
    data = ''
    if type(results) == 'table' then error(results[1] or results, 0) end
    if results == 'not enough memory' then error(results, 0) end
    error(results, 2)
  end
  return unpack(results, 1, found)
end

local function partial(input, limit, offset)
  local ok, results, found, behind = pcall(run, input, limit, offset)
  if not ok then
    data = ''
    if type(results) == 'table' then error(results[1] or results, 0) end
    if results == 'not enough memory' then error(results, 0) end
    error(results, 3)
  end
  return results, found, behind
end

function cmsgpack.unpack_one(...)
  local input, offset = ...
  local count = select('#', ...)
  offset = integer(2, 'unpack_one', count, offset, 0)
  if type(input) == 'number' then input = tostring(input) end
  if type(input) ~= 'string' then bad_type(1, 'unpack_one', 'string', count, input) end
  local results, found, behind = partial(input, 1, offset)
  return behind, unpack(results, 1, found)
end

function cmsgpack.unpack_limit(...)
  local input, limit, offset = ...
  local count = select('#', ...)
  limit = integer(2, 'unpack_limit', count, limit)
  offset = integer(3, 'unpack_limit', count, offset, 0)
  if type(input) == 'number' then input = tostring(input) end
  if type(input) ~= 'string' then bad_type(1, 'unpack_limit', 'string', count, input) end
  local results, found, behind = partial(input, limit, offset)
  if limit == 0 and offset == 0 then return unpack(results, 1, found) end
  return behind, unpack(results, 1, found)
end

return cmsgpack
"""
